"""Tasks that labels teach: tags of words, figures of quality, calibration."""
