"""What operators do: one function a deed, which calls a verb of `storage` and words its outcome."""
