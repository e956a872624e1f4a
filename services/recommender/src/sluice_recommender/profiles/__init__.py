"""The process that keeps profiles, items and popularity, and credits interactions to answers."""
