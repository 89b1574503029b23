"""What a ranker is, and how good it is: ranks, intervals over users, errors of ratings."""
