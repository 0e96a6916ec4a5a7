"""The three stages: texts -> stores (`embed`), stores -> runs (`search`), runs -> scores (`evaluate`)."""
