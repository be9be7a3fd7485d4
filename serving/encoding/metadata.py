"""Texts inside image files: the facts of an image as EXIF and XMP, cleaned of characters that formats forbid."""

import re
from collections.abc import Mapping
from typing import Any
from xml.sax.saxutils import quoteattr

from PIL import Image

# XML 1.0 forbids these even when escaped. PNG and EXIF end a text at a null character.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_EXIF_IMAGE_DESCRIPTION = 0x010E

# XMP (ISO 16684-1): one element, with each fact as an attribute. The digital source type is IPTC's term for images that
# a model generated. Search engines and picture libraries look for it.
_XMP = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:CreatorTool="Figment"'
    ' xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"'
    ' Iptc4xmpExt:DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"'
    ' xmlns:figment="urn:figment:"{facts}/></rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
)


def replace_forbidden(text: str) -> str:
    """Returns the text with U+FFFD in place of every character that XML 1.0 forbids."""
    return _NOT_XML.sub("\ufffd", text)


def description(texts: Mapping[str, str]) -> str:
    """Returns all texts as one line for people, each with its name; the comment has none."""
    return replace_forbidden(
        "; ".join(text if name == "Comment" else f"{name}: {text}" for name, text in texts.items())
    )


def exif_and_xmp(texts: Mapping[str, str]) -> dict[str, Any]:
    """Returns Pillow's options that write ``texts`` into a file: as EXIF's image description, and each as XMP."""
    exif = Image.Exif()
    exif[_EXIF_IMAGE_DESCRIPTION] = description(texts)
    facts = "".join(f" figment:{name.lower()}={quoteattr(replace_forbidden(text))}" for name, text in texts.items())
    return {"exif": exif.tobytes(), "xmp": _XMP.format(facts=facts).encode()}
