"""A local OpenAI Files and Batches server with faults on request."""
