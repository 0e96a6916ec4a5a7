"""The three stages: texts to stores (`embed`), to runs (`search`), to scores (`evaluate`)."""
