"""The catalogs of the demo and their logs, and the truth where shoppers are simulated."""

from p5mm.demo.clock import Clock
from p5mm.demo.colours import colour_shares
from p5mm.demo.folder import DemoFolder, Settings
from p5mm.demo.movies import write_movies
from p5mm.demo.shoppers import Shop, open_shop, simulate, write_log
from p5mm.demo.stickers import draw_outsider, draw_pictures, stickers, write_catalog


def make_data(folder: DemoFolder, settings: Settings, clock: Clock) -> Shop | None:
    """Write the catalog and the log that the settings name; the truth of simulated shoppers.

    Raises:
        InputError: A package of the extra ``demo`` is missing.
    """
    if settings.data == "movies":
        with clock.step("movies", "seconds"):
            write_movies(folder.root)
        return None
    items = stickers(300 if settings.quick else None)
    with clock.step(f"draw {len(items):,} stickers", f"about {len(items) // 250 + 1} s"):
        draw_pictures(folder.root, items)
        draw_outsider(folder.query)
        write_catalog(folder.root, items)
    shoppers = 400 if settings.quick else 3000
    with clock.step(f"simulate {shoppers:,} shoppers", f"about {shoppers // 200 + 3} s"):
        colours = colour_shares([folder.pictures / f"{s.item_id}.png" for s in items])
        categories = [s.category for s in items]
        shop = open_shop(categories, colours, shoppers=shoppers, seed=settings.seed)
        if not folder.interactions.exists():
            taken = simulate(shop, settings.seed)
            write_log(folder.root, shop, taken, [s.item_id for s in items], settings.seed)
    return shop
