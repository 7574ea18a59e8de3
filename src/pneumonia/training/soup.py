"""Average the weights of several networks into one."""

from collections.abc import Sequence

import keras
import numpy as np


def average(models: Sequence[keras.Model]) -> keras.Model:
    """Return the network whose weights are the mean of the weights of several networks.

    Fine-tuned from the same pretrained weights, such networks lie in one basin of the loss, and their mean is about as
    accurate as an ensemble of them at the cost of one: Wortsman et al., "Model soups", ICML 2022, arXiv:2203.05482.

    Args:
        models: networks of one architecture, fine-tuned from the same weights; at least one.
    """
    soup = keras.models.clone_model(models[0])
    soup.set_weights([np.mean(same, axis=0) for same in zip(*(model.get_weights() for model in models), strict=True)])
    return soup
