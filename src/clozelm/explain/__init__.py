"""Why a model fills a mask as it does, seen from inside and from outside, and where it fails."""
