"""Floor of the data: files become cases, cases become arrays and tensors."""
