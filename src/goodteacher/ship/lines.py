"""The lines of Python that load an exported file and feed it, without goodteacher."""

from __future__ import annotations

from goodteacher.ship.deployed import Deployed
from goodteacher.ship.formats import FORMATS


def loading(name: str, network: Deployed) -> str:
    """Return three lines that load a file and answer new inputs.

    Args:
        name: of the format; weights alone have no such lines, for they need their network's code.
        network: what was exported.
    """
    file = FORMATS[name].file
    if network.made.is_image:
        channels, height, width = network.made.shape
        mode, add = ("RGB", "") if channels == 3 else ("L", "[..., None]")
        picture = f'ImageOps.exif_transpose(Image.open("new.jpg")).convert("{mode}")'
        fitted = f"ImageOps.fit({picture}, ({width}, {height}), Image.Resampling.BILINEAR)"
        imports, given = "; from PIL import Image, ImageOps", f"numpy.asarray({fitted})[None]{add}"
    else:
        imports, given = "", f'numpy.load("new.npy").astype("float32").reshape(-1, {network.made.shape[0]})'
    if file.endswith(".onnx"):
        return "\n".join(
            (
                f"import numpy, onnxruntime{imports}",
                f"{network.input_name} = {given}",
                f'(p,) = onnxruntime.InferenceSession("{file}").run(None, {{"{network.input_name}": {network.input_name}}})',
            )
        )
    return "\n".join(
        (
            f"import numpy, torch{imports}",
            f"{network.input_name} = torch.from_numpy(numpy.array({given}))",
            f'p = torch.export.load("{file}").module()({network.input_name})',
        )
    )
