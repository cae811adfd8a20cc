"""Raw text in: readers, normalisation, filters, tokenizers."""
