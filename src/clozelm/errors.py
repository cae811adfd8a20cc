"""Mistakes a user can make, each said in one line; anything else that is raised is a bug."""


class ClozeError(Exception):
    """A mistake of the user's: the message says what was given, what is wrong and what to do."""


class SettingsError(ClozeError):
    """A setting that does not exist or has a value it must not have."""


class DataError(ClozeError):
    """Text, a tokenizer or a token store that cannot be used; names file and line where there is one."""


class ModelError(ClozeError):
    """A model directory, a configuration or a set of weights that cannot be used."""


class TrainingError(ClozeError):
    """A run that cannot go on: the loss is not finite."""
