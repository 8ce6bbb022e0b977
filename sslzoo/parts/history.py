"""What a discriminator is shown of the past (Shrivastava et al. 2017, arXiv:1612.07828).

It would else forget what the other player does no more, and be fooled by it again.
"""

import keras
import tensorflow as tf

from sslzoo.parts import tables


class History(keras.layers.Layer):
    """A pool of `size` feature maps of earlier steps, `maps` (size, *shape) float32.

    It is a weight that no gradient reaches, so it is saved and restored with the model.

    Departure from the authors, who go through a batch one by one: a batch meets neighbouring places
    of the pool, from a random one on, so that no place is met twice in a step. What is over the
    size of the pool passes by.

    Args:
        size: number of maps.
        shape: of one of them.
    """

    def __init__(self, size, shape, **kwargs):
        super().__init__(trainable=False, **kwargs)
        self.size = size
        options = {"trainable": False, "aggregation": "only_first_replica"}
        self.maps = self.add_weight(
            shape=(size, *shape), name="maps", initializer="zeros", **options
        )
        self.filled = self.add_weight(shape=(size,), name="filled", initializer="zeros", **options)
        self.built = True

    def exchange(self, maps, seed):
        """Each map (B, *shape) meets a place: an empty one keeps it and it comes back; a full one
        is exchanged for it half of the time. Returns (B, *shape).

        To be called in the replica context, outside XLA: the maps of all replicas are gathered
        first, so that every replica's pool stays the same.

        Args:
            maps: of this replica.
            seed: (2,) integers; all replicas pass the same.
        """
        context = tf.distribute.get_replica_context()
        own = tf.shape(maps)[0]
        first = own * context.replica_id_in_sync_group
        if context.num_replicas_in_sync > 1:
            maps = context.all_gather(maps, axis=0)
        met = tf.minimum(tf.shape(maps)[0], self.size)
        places, coins = self.draw(met, seed)
        old = tables.gather(self.maps, places)
        full = tables.gather(self.filled, places) > 0
        swapped = full & coins
        kept = tf.boolean_mask(maps[:met], swapped | ~full)
        where = tf.boolean_mask(places, swapped | ~full)
        tables.write(self.maps, where, kept)
        tables.write(self.filled, where, tf.ones_like(where, tf.float32))
        past = tf.where(tf.reshape(swapped, [-1] + [1] * (maps.shape.rank - 1)), old, maps[:met])
        return tf.concat([past, maps[met:]], 0)[first : first + own]

    def draw(self, count, seed):
        """(count,) places, all different, and as many throws of a coin."""
        seeds = tf.unstack(tf.random.split(seed, 2, alg="philox"), num=2)
        start = tf.random.stateless_uniform((), seeds[0], 0, self.size, tf.int32, alg="philox")
        coins = tf.random.stateless_uniform((count,), seeds[1], 0, 2, tf.int32, alg="philox")
        return (start + tf.range(count)) % self.size, coins > 0
