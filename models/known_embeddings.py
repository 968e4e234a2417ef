"""Write the golden embedding of each encoder that comes with the package; `shelfmatch doctor` holds runtimes against it.

    python -m shelfmatch.models.known_embeddings

Run it after an encoder was added or changed, in a checkout that is installed with `pip install -e`.
"""

from __future__ import annotations

import sys

from ..edge.encoders.encoder import Encoder
from ..edge.encoders.golden import embedded_cards, golden_file, golden_of
from ..edge.files import write_atomic
from ..edge.terminal import quiet_native


def main() -> int:
    """Embed the golden picture with each encoder and write NAME.known beside its card."""
    for name, card_path in embedded_cards().items():
        with quiet_native():
            golden = golden_of(Encoder.load(card_path))
        path = golden_file(card_path)
        write_atomic(path, golden.to_bytes())
        print(f"{path.name}: {len(golden.vector)} numbers of {name} ({golden.sha256[:12]}…)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
