"""What lies below the API, under the name of HyperQueue's package."""
