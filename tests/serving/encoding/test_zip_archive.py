"""ZIP files are those of Python's ``zipfile`` for the same files, byte for byte."""

import io
import zipfile

from hypothesis import given
from hypothesis import strategies as st

from serving.encoding.zip_archive import zip_archive

NAMES = st.text("abcxyz0123456789-.", min_size=1, max_size=20)


@given(st.dictionaries(NAMES, st.binary(max_size=300), max_size=5))
def test_equals_zipfile(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as expected:
        for name, data in files.items():
            about = zipfile.ZipInfo(name)
            about.create_system = 3
            about.external_attr = 0o100644 << 16
            expected.writestr(about, data)
    assert zip_archive(files.items()) == buffer.getvalue()


def test_1024_files_are_read_back():
    files = [(f"{number}.png", b"%d" % number) for number in range(1024)]
    with zipfile.ZipFile(io.BytesIO(zip_archive(files))) as read:
        assert read.testzip() is None
        assert [(name, read.read(name)) for name in read.namelist()] == files
