"""The states of the random generators, as plain values that a checkpoint can hold."""

import random

import numpy as np
import torch


def get_rng_state() -> dict:
    """The states of python's, numpy's, torch's and (where one is in use) this GPU's generator."""
    version, words, gauss = random.getstate()
    legacy = np.random.get_state(legacy=True)
    state = {
        'python': {'version': version, 'words': torch.tensor(words), 'gauss': gauss},
        'numpy': {
            'words': torch.from_numpy(legacy[1].astype(np.int64)),
            'position': int(legacy[2]),
            'has_gauss': int(legacy[3]),
            'gauss': float(legacy[4]),
        },
        'torch': torch.get_rng_state(),
    }
    if torch.cuda.is_initialized():
        state['cuda'] = torch.cuda.get_rng_state()
    return state


def set_rng_state(state: dict) -> None:
    """Put the generators back to what `get_rng_state` returned (a GPU state needs a GPU)."""
    python, numpy = state['python'], state['numpy']
    random.setstate((python['version'], tuple(python['words'].tolist()), python['gauss']))
    words = numpy['words'].numpy().astype(np.uint32)
    np.random.set_state(('MT19937', words, numpy['position'], numpy['has_gauss'], numpy['gauss']))
    torch.set_rng_state(state['torch'].cpu())
    if 'cuda' in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state['cuda'].cpu())
