"""How many networks that people bring are taken: from their builders to code within the array's limits."""
