"""The demo of `onefold demo`: train, fold and compare two small networks."""
