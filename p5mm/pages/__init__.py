"""What people look at: pages, charts, thumbnails, contact sheets."""
