"""How far outputs are from those of another computation, in decibels."""

import numpy as np

MAX_SNR_DB = 200.0  # what identical outputs are reported as; float32 itself ends at about 140


def decibels(signal: float, noise: float) -> float:
    """10·log10(signal / noise), within ±`MAX_SNR_DB`."""
    if noise <= 0:
        return MAX_SNR_DB
    ratio = signal / noise
    if ratio <= 0:  # also where outputs overflow
        return -MAX_SNR_DB
    return float(np.clip(10 * np.log10(ratio), -MAX_SNR_DB, MAX_SNR_DB))


def snr_db(expected: np.ndarray, found: np.ndarray) -> float:
    """10·log10(Σ expected² / Σ (expected − found)²), within ±`MAX_SNR_DB`; NaN where `found` holds one."""
    signal = float(np.square(expected, dtype=np.float64).sum())
    return decibels(signal, float(np.square(expected.astype(np.float64) - found).sum()))
