"""Which integers: weights and biases fitted layer by layer, at exponents that stay."""
