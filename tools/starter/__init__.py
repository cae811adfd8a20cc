"""From raw text to the model that ships with the package: `make starter CORPUS=DIR`."""
