"""The domain: requests, batches, results and the rules about them. No I/O."""
