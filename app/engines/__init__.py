"""How a MobileNetV1 runs: finding and checking its weights, compiling them, and the engines that answer."""
