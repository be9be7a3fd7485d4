"""Made images as the body of an answer: the image itself, JSON, a ZIP archive or an array."""

import base64
from collections import Counter
from typing import NamedTuple

from models.bundle import Card
from serving.encoding.archive import archive
from serving.encoding.formats import DEFAULT_QUALITY, Images, encode, encode_animation, npy
from serving.encoding.negotiation import Form, Offer

_EXTENSION = {"png": "png", "jpeg": "jpg", "webp": "webp", "npy": "npy"}


class Picture(NamedTuple):
    """One file of an answer: its pixels, uint8 [H, W, C], and what is told of it in JSON, in its name and inside."""

    pixels: Images
    members: str
    stem: str
    texts: dict[str, str]


class Answer:
    """The answer to one request. ``encode`` and ``body`` take time and belong in an encoder thread."""

    def __init__(
        self,
        card: Card,
        offer: Offer,
        images: Images,
        pictures: list[Picture],
        *,
        quality: int | None,
        frames_per_second: float = 0,
    ) -> None:
        """``images`` are those of an array or an animation, ``pictures`` those of every other form."""
        self._card = card
        self._offer = offer
        self._images = images
        self.pictures = pictures
        self._quality = quality or DEFAULT_QUALITY
        self._frames_per_second = frames_per_second

    @property
    def is_one_file(self) -> bool:
        """Returns whether ``body`` encodes all images as one file, without ``encode``."""
        return self._offer.form in (Form.NPY, Form.ANIMATION)

    def encode(self, picture: Picture) -> bytes:
        """A picture as it goes into the body."""
        assert self._offer.format != "gif"  # which is offered for animations alone
        data = encode(picture.pixels, self._offer.format, self._quality, picture.texts)
        return base64.b64encode(data) if self._offer.form is Form.JSON else data

    def body(self, files: list[bytes]) -> bytes:
        """The answer's body, of all encoded pictures in order."""
        if self._offer.form is Form.IMAGE:
            return files[0]
        if self._offer.form is Form.NPY:
            return npy(self._images)
        if self._offer.form is Form.ANIMATION:
            assert self._offer.format in ("webp", "gif")
            texts = self.pictures[0].texts
            return encode_animation(self._images, self._offer.format, self._quality, self._frames_per_second, texts)
        return self._json(files) if self._offer.form is Form.JSON else self._zip(files)

    def _json(self, files: list[bytes]) -> bytes:
        # Base64 needs no escaping: putting it in by hand spares a walk through megabytes of text.
        file_format = self._offer.format.encode()
        images = b",".join(
            [
                b'{%s,"format":"%s","data":"%s"}' % (picture.members.encode(), file_format, data)
                for picture, data in zip(self.pictures, files, strict=True)
            ]
        )
        # A name is of letters that JSON does not escape: the card's pattern has it.
        return b'{"model":"%s","version":%d,"images":[%s]}' % (self._card.name.encode(), self._card.version, images)

    def _zip(self, files: list[bytes]) -> bytes:
        extension = _EXTENSION[self._offer.format]
        used: Counter[str] = Counter()
        names = []
        for picture in self.pictures:
            used[picture.stem] += 1
            repeat = f"-{used[picture.stem]}" if used[picture.stem] > 1 else ""
            names.append(f"{picture.stem}{repeat}.{extension}")
        return archive(zip(names, files, strict=True))
