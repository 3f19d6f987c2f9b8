"""Files of Keras, read by what they contain: the layers, their order, and whether they are a MobileNetV1."""
