"""See what a convolutional network has learned: the computing half, which knows no page and starts nothing alone."""
