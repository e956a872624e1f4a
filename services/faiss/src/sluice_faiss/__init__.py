"""The Faiss service: holds snapshots and searches them."""
