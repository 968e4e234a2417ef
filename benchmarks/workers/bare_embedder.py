"""A network and nothing around it: `python bare_embedder.py litert|tflite-runtime|onnxruntime MODEL`, on one thread.

Operations: pixels {path, embedding?} feeds the stored (H, W, 3) uint8 of a .npy file as it is and answers the output
as it is stored (integers where the network is quantized); spin {count} runs the network that often on grey, for the
machine's own limits.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from line_protocol import Stopwatch, serve


def open_tflite(interpreter_class: Any, model: str) -> Callable[[Any], Any]:
    interpreter = interpreter_class(model_path=model, num_threads=1)
    interpreter.allocate_tensors()
    source, target = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]

    def run(value: Any) -> Any:
        interpreter.set_tensor(source, value)
        interpreter.invoke()
        return interpreter.get_tensor(target)

    return run


def open_onnx(model: str) -> Callable[[Any], Any]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda value: session.run(None, {name: value})[0]


def open_model(runtime: str, model: str) -> Callable[[Any], Any]:
    if runtime == "onnxruntime":
        return open_onnx(model)
    if runtime == "litert":
        from ai_edge_litert.interpreter import Interpreter
    else:
        from tflite_runtime.interpreter import Interpreter
    return open_tflite(Interpreter, model)


def main() -> None:
    run = open_model(sys.argv[1], sys.argv[2])

    def pixels(path: str, embedding: bool = False) -> dict[str, Any]:
        value = np.load(path)[np.newaxis]
        with Stopwatch() as watch:
            output = run(value)
        return {**watch.reply(), **({"embedding": output.reshape(-1).tolist()} if embedding else {})}

    def spin(count: int, size: int = 224) -> dict[str, Any]:
        value = np.full((1, size, size, 3), 128, np.uint8)
        with Stopwatch() as watch:
            for _ in range(count):
                run(value)
        return watch.reply()

    serve({"pixels": pixels, "spin": spin})


if __name__ == "__main__":
    main()
