"""Fine-tune a network as the guides of Keras do, for comparison; without code of this project.

Follows "Transfer learning & fine-tuning" (keras.io/guides/transfer_learning) and "Image classification from scratch":
``image_dataset_from_directory``, augmentation layers in the input pipeline, a network of ``keras.applications``.

    python plain_keras.py FOLDER {head|all} TARGET_AUC EPOCHS

FOLDER has train/ and validation/ with a folder per class. ``head`` trains a new head on the frozen backbone, ``all``
trains all layers. Prints one line of JSON per epoch: seconds since the start, and validation AUC.
"""

import json
import sys
import time
from pathlib import Path

import keras
import tensorflow as tf

SIZE = 224
BATCH = 32
TARGET_AUC = float(sys.argv[3])
EPOCHS = int(sys.argv[4])

folder, trained = Path(sys.argv[1]), sys.argv[2]
keras.utils.set_random_seed(1)
start = time.perf_counter()

augmentation = keras.Sequential([keras.layers.RandomFlip("horizontal"), keras.layers.RandomRotation(0.1)])


def load(subset: str) -> tf.data.Dataset:
    """Return the images of a subset as a dataset, as in the guides."""
    return keras.utils.image_dataset_from_directory(
        folder / subset, label_mode="binary", image_size=(SIZE, SIZE), batch_size=BATCH, seed=1, verbose=False
    )


train = load("train").map(lambda x, y: (augmentation(x, training=True), y), num_parallel_calls=tf.data.AUTOTUNE)
train, validation = train.prefetch(tf.data.AUTOTUNE), load("validation").prefetch(tf.data.AUTOTUNE)

base = keras.applications.MobileNetV2(alpha=0.35, include_top=False, weights="imagenet", input_shape=(SIZE, SIZE, 3))
base.trainable = trained == "all"
inputs = keras.Input((SIZE, SIZE, 3))
x = keras.layers.Rescaling(1 / 127.5, offset=-1)(inputs)
x = base(x, training=False) if trained == "head" else base(x)
x = keras.layers.GlobalAveragePooling2D()(x)
x = keras.layers.Dropout(0.2)(x)
model = keras.Model(inputs, keras.layers.Dense(1)(x))
model.compile(
    optimizer=keras.optimizers.Adam(),
    loss=keras.losses.BinaryCrossentropy(from_logits=True),
    metrics=[keras.metrics.AUC(from_logits=True, name="auc", num_thresholds=2000)],
)


class Report(keras.callbacks.Callback):
    """Print time and AUC of each epoch, and stop at the target."""

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Print one line of JSON."""
        auc = float((logs or {})["val_auc"])
        print(json.dumps({"epoch": epoch + 1, "seconds": time.perf_counter() - start, "auc": auc}), flush=True)
        self.model.stop_training = auc >= TARGET_AUC


model.fit(train, validation_data=validation, epochs=EPOCHS, callbacks=[Report()], verbose=0)
