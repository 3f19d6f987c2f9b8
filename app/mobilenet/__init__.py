"""MobileNetV1 itself: the table of its layers, its variants, what they cost, and the network in Keras."""
