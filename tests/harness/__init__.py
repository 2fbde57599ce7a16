"""What the tests share: labs as programs, labs held, and looks from outside."""
