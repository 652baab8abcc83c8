"""The demo of `onefold demo`: train, fold and compare three small networks."""
