// What llama.cpp writes with an adapter that was exported here, for the prompts of its golden.json.
//
// usage: node make_llama_cpp.mjs MODEL.gguf ADAPTER.gguf GOLDEN.json OUT.json
//
// In a folder with `npm install --ignore-scripts node-llama-cpp`, which carries llama.cpp's binaries.
import fs from "node:fs";
import {createRequire} from "node:module";
import {pathToFileURL} from "node:url";

const require = createRequire(pathToFileURL(process.cwd() + "/"));
const {getLlama} = await import(pathToFileURL(require.resolve("node-llama-cpp")).href);
const [modelPath, filePath, goldenPath, outPath] = process.argv.slice(2);
const runs = JSON.parse(fs.readFileSync(goldenPath)).runs;
const llama = await getLlama({gpu: false, build: "never", logLevel: "error"});
const model = await llama.loadModel({modelPath});

// The likeliest tokens after each prompt, with their log-probabilities.
async function write(lora) {
  const res = [];
  for (const {prompt} of runs) {
    const context = await model.createContext({contextSize: 512, threads: 2, ...(lora ? {lora} : {})});
    const sequence = context.getSequence();
    for await (const {probabilities} of sequence.evaluateWithMetadata(prompt, {probabilities: true}, {temperature: 1})) {
      res.push([...probabilities].slice(0, 10).map(([id, p]) => [id, +Math.log(p).toFixed(4)]));
      break;
    }
    await context.dispose();
  }
  return res;
}

const version = JSON.parse(fs.readFileSync("node_modules/node-llama-cpp/package.json")).version;
const out = {
  made_with: {"node-llama-cpp": version, "llama.cpp": llama.llamaCppRelease.release},
  base: await write(null),
  adapter: await write({adapters: [{filePath, scale: 1}]}),
};
fs.writeFileSync(outPath, JSON.stringify(out) + "\n");
console.log(JSON.stringify(out));
process.exit(0);
