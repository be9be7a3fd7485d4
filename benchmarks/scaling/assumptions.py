"""What is not measured: prices, a network, and how far cities are apart. Change them here, and run it again."""

USD_PER_CORE_HOUR = 0.04
"""On demand, compute-optimised, with its share of memory. Spot and reserved machines are cheaper."""
USD_PER_GPU_HOUR = 4.0
"""One H200 with its share of a host."""
USD_PER_EGRESS_GB = 0.08
"""From a region to the internet."""
USD_PER_CDN_GB = 0.04
USD_PER_MILLION_CDN_REQUESTS = 0.75

TRANSPORT_BYTES = 300
"""Of TCP, IP and TLS around a response with one image."""
INGRESS_BITS_PER_SECOND = 10e9
"""Of the machine that runs the ingress."""
PROMETHEUS_SERIES = 1_000_000
"""That one Prometheus server holds with comfort."""
CLUSTER_NODES = 5_000
"""Kubernetes' own limit: https://kubernetes.io/docs/setup/best-practices/cluster-large/"""
REPLICAS_PER_NODE = 8
"""Of 2 cores, on a node of 16."""

FIBRE_KM_PER_SECOND = 200_000
"""Light in glass: two thirds of its speed in vacuum."""
DETOUR = 1.5
"""How much longer a cable is than the great circle."""

CITIES = {
    "New York": (40.7, -74.0),
    "Los Angeles": (34.1, -118.2),
    "São Paulo": (-23.6, -46.6),
    "London": (51.5, -0.1),
    "Frankfurt": (50.1, 8.7),
    "Lagos": (6.5, 3.4),
    "Mumbai": (19.1, 72.9),
    "Singapore": (1.4, 103.8),
    "Tokyo": (35.7, 139.7),
    "Sydney": (-33.9, 151.2),
}
"""Where clients are, in equal shares: latitude and longitude in degrees."""
REGIONS = (("New York",), ("New York", "Frankfurt"), ("New York", "Frankfurt", "Singapore"))
"""Where the service runs: one, two or three of the cities."""
