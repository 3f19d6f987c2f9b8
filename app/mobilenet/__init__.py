"""What a MobileNetV1 is: its layers, its variants, what they cost, and the network in Keras."""
