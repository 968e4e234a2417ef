"""The independent yardstick of recall: Pillow, LiteRT and numpy, and nothing of this project.

    S=../shared; M=mobilenet_v1_1.0_224_quant_embedding_extractor.tflite
    python benchmarks/recall_numpy.py $S/data/grocery $S/models/$M

Every photo is decoded whole, resized to the network's size by Pillow's bilinear filter and run through the network;
the label of the train photo with the highest cosine, in floats, is the answer to each val photo.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image


def embed(interpreter: Any, path: Path) -> Any:
    source, target = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    _, height, width, _ = source["shape"]
    pixels = np.asarray(Image.open(path).convert("RGB").resize((int(width), int(height)), Image.Resampling.BILINEAR))
    interpreter.set_tensor(source["index"], pixels[np.newaxis])
    interpreter.invoke()
    scale, zero_point = target["quantization"]
    vector = (interpreter.get_tensor(target["index"]).reshape(-1).astype(np.float32) - zero_point) * scale
    return vector / np.linalg.norm(vector)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the folder with train.txt and val.txt")
    parser.add_argument("model", help="a .tflite file with uint8 input and quantized output")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    interpreter = Interpreter(arguments.model, num_threads=1)
    interpreter.allocate_tensors()
    vectors, labels = {}, {}
    for split in ("train", "val"):
        lines = [line.split(", ") for line in (arguments.data / f"{split}.txt").read_text().splitlines() if line]
        vectors[split] = np.stack([embed(interpreter, arguments.data / line[0]) for line in lines])
        labels[split] = np.array([int(line[1]) for line in lines])
    answers = labels["train"][(vectors["val"] @ vectors["train"].T).argmax(axis=1)]
    recall = float((answers == labels["val"]).mean())
    print(f"recall@1 {100 * recall:.2f} % of {len(answers)} val photos against {len(labels['train'])} train photos")
    if arguments.json:
        arguments.json.write_text(
            json.dumps({"recall_at_1": recall, "queries": len(answers), "answers": answers.tolist()})
        )


if __name__ == "__main__":
    main()
