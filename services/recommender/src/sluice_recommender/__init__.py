"""The recommender: public API, profiles, popularity, attribution."""
