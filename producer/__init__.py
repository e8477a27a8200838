"""The storefront's side: datasets and clients that publish events and catalogue items."""
