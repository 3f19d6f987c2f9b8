// The network in Fastify, in a process for each CPU: sharp decodes, and ONNX Runtime classifies on one thread.

import cluster from "node:cluster";
import { env } from "node:process";
import Fastify from "fastify";
import { InferenceSession, Tensor } from "onnxruntime-node";
import sharp from "sharp";

const CENTRAL = 0.875;
const TOP = 5;
const resolution = Number(env.BENCH_RESOLUTION);
const side = Math.round(resolution / CENTRAL);
const margin = Math.floor((side - resolution) / 2);
const square = { left: margin, top: margin, width: resolution, height: resolution };

// The shorter side is scaled first and the square is cut out then, so that sharp may scale a JPEG while it is decoded.
const decode = (photo) =>
  sharp(photo).resize(side, side, { fit: "cover" }).extract(square).toColourspace("srgb").raw().toBuffer();

const answer = (probabilities) => {
  const best = Array.from(probabilities, (probability, class_id) => ({ class_id, probability }));
  best.sort((a, b) => b.probability - a.probability);
  return { results: [{ predictions: best.slice(0, TOP) }] };
};

const serve = async () => {
  sharp.concurrency(1);
  const session = await InferenceSession.create(env.BENCH_MODEL, { intraOpNumThreads: 1, interOpNumThreads: 1 });
  const server = Fastify({ bodyLimit: 32 * 2 ** 20 });
  server.addContentTypeParser("application/octet-stream", { parseAs: "buffer" }, (request, body, done) => {
    done(null, body);
  });
  server.post("/predict", async (request) => {
    const pixels = new Tensor("uint8", await decode(request.body), [1, resolution, resolution, 3]);
    const { probabilities } = await session.run({ pixels });
    return answer(probabilities.data);
  });
  await server.listen({ host: "127.0.0.1", port: Number(env.BENCH_PORT) });
};

if (cluster.isPrimary) {
  for (let cpu = 0; cpu < Number(env.BENCH_CPUS); cpu += 1) cluster.fork();
} else {
  await serve();
}
