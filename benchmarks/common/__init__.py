"""What the benchmarks share: data, networks, stored members and groups of them."""
