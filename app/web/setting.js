// What a network runs in: an engine and a precision, in words.

const ENGINES = { litert: "LiteRT", openvino: "OpenVINO", tensorflow: "TensorFlow" };

export const engineName = (engine) => ENGINES[engine] ?? engine;
export const setting = ({ engine, precision }) => `${engineName(engine)} ${precision}`;
