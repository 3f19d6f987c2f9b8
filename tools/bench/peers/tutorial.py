"""A server as tutorials show it: FastAPI, a Keras model, and `model.predict` in the route."""

import os

import keras
import uvicorn
from fastapi import FastAPI, Request

from tools.bench.peers.classify import MODEL, PORT, RESOLUTION, Answer, answer, decode

app = FastAPI()
model = keras.models.load_model(os.environ[MODEL])


@app.post("/predict")
async def predict(request: Request) -> Answer:
    """Classify one photo."""
    pixels = decode(await request.body(), int(os.environ[RESOLUTION]))
    return answer(model.predict(pixels, verbose=0)[0])


if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ[PORT]), log_level="error")
