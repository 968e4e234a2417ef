"""Training and model files of shelfmatch's embedded default encoder."""
