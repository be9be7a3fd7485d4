"""The body of an answer with images: an image, JSON, a ZIP archive, an array or an animation."""

import base64
from collections import Counter
from typing import NamedTuple

from models.bundle import Card
from models.colour import parse_colour
from models.transparency import lay_over
from serving.encoding.formats import DEFAULT_BACKGROUND, DEFAULT_QUALITY, FORMATS, Images, encode_npy
from serving.encoding.negotiation import Form, Offer
from serving.encoding.zip_archive import zip_archive


class Picture(NamedTuple):
    """One file of an answer: pixels uint8 [H, W, C], its JSON members, its name without extension, and its texts."""

    pixels: Images
    members: str
    stem: str
    texts: dict[str, str]


class Answer:
    """The answer to one request. ``encode`` and ``body`` take time: run them in an encoder thread."""

    def __init__(
        self,
        card: Card,
        offer: Offer,
        images: Images,
        pictures: list[Picture],
        *,
        quality: int | None,
        background: str | None,
        frames_per_second: float = 0,
    ) -> None:
        """Takes ``images`` for an array or an animation, and ``pictures`` for every other form.

        RGBA images are laid over ``background``; without one, over the default if the format keeps no alpha.
        """
        self._card = card
        self._offer = offer
        self._format = FORMATS[offer.format]
        self._images = images
        self.pictures = pictures
        self._quality = quality or DEFAULT_QUALITY
        if background is None and not self._format.keeps_alpha:
            background = DEFAULT_BACKGROUND
        self._background = None if background is None else parse_colour(background)
        self._frames_per_second = frames_per_second

    @property
    def is_one_file(self) -> bool:
        """Returns whether ``body`` encodes all images as one file, without ``encode``."""
        return self._offer.form in (Form.NPY, Form.ANIMATION)

    def encode(self, picture: Picture) -> bytes:
        """Returns a picture as the body holds it."""
        assert self._format.encode is not None  # animations are one file
        data = self._format.encode(self._on_background(picture.pixels), self._quality, picture.texts)
        return base64.b64encode(data) if self._offer.form in (Form.JSON, Form.PREDICTIONS) else data

    def body(self, files: list[bytes]) -> bytes:
        """Returns the body of all encoded pictures, in order."""
        if self._offer.form is Form.IMAGE:
            return files[0]
        if self._offer.form is Form.NPY:
            return encode_npy(self._on_background(self._images))
        if self._offer.form is Form.ANIMATION:
            assert self._format.animate is not None  # animations are offered in these formats only
            texts = self.pictures[0].texts
            images = self._on_background(self._images)
            return self._format.animate(images, self._frames_per_second, self._quality, texts)
        return self._zip(files) if self._offer.form is Form.ZIP else self._json(files)

    def _on_background(self, images: Images) -> Images:
        """Returns RGBA images laid over the background, if there is one; opaque images hide it."""
        if self._background is None or images.shape[-1] != 4:
            return images
        return lay_over(images, self._background)

    def _json(self, files: list[bytes]) -> bytes:
        # Formatted without a JSON encoder: Base64 needs no escaping, and an encoder would scan megabytes for it.
        file_format = self._format.name.encode()
        images = b",".join(
            [
                b'{%s,"format":"%s","data":"%s"}' % (picture.members.encode(), file_format, data)
                for picture, data in zip(self.pictures, files, strict=True)
            ]
        )
        if self._offer.form is Form.PREDICTIONS:
            return b'{"predictions":[%s]}' % images
        # The card's pattern allows no character in a name that JSON would escape.
        return b'{"model":"%s","version":%d,"images":[%s]}' % (self._card.name.encode(), self._card.version, images)

    def _zip(self, files: list[bytes]) -> bytes:
        used: Counter[str] = Counter()
        names = []
        for picture in self.pictures:
            used[picture.stem] += 1
            repeat = f"-{used[picture.stem]}" if used[picture.stem] > 1 else ""
            names.append(f"{picture.stem}{repeat}.{self._format.extension}")
        return zip_archive(zip(names, files, strict=True))
