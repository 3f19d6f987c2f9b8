"""The Open Inference Protocol, version 2, which Triton, KServe and MLServer support too."""
