"""Device, threads and precision of a run."""

import torch

from almeta.errors import AlmetaError, did_you_mean

_PRECISIONS = {"highest": "ieee", "medium": "bf16"}


def set_compute(threads: int | None, device: str, matmul_precision: str) -> None:
    """Set threads and matrix precision, and check the device.

    Raises:
        AlmetaError: for an unknown precision, or a device that does not exist.
    """
    set_matmul_precision(matmul_precision)
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        if torch.empty(0, device=device).device.type not in ("cpu", "cuda"):
            raise RuntimeError("neither cpu nor cuda")
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition(". ")[0].splitlines()[0]  # torch adds a page of what it was built with
        raise AlmetaError(f"device={device} cannot be used here ({reason}); choose device=cpu") from error


def set_matmul_precision(precision: str) -> None:
    """Choose how products and convolutions of float32 numbers are computed, process-wide.

    Args:
        precision: "highest" for float32 throughout; "medium" lets factors, and some products, be rounded to bfloat16
            where the processor is faster at it.

    Raises:
        AlmetaError: for another value.
    """
    if precision not in _PRECISIONS:
        raise AlmetaError(did_you_mean(str(precision), _PRECISIONS, "matmul_precision"))
    torch.backends.mkldnn.matmul.fp32_precision = _PRECISIONS[precision]  # type: ignore[attr-defined]
    torch.backends.mkldnn.conv.fp32_precision = _PRECISIONS[precision]  # type: ignore[attr-defined]
    torch.set_float32_matmul_precision(precision)
