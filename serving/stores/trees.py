"""Directories to, from and within buckets."""

from pathlib import Path

from serving.stores.objects import open_store


def get_tree(url: str, directory: Path) -> None:
    """Copies what is below a URL into a local directory; nothing where there is nothing."""
    store, key = open_store(url)
    for name in store.sizes(f"{key}/"):
        if name.endswith("/"):
            continue  # a mark that some tools leave for a directory
        target = directory / name.removeprefix(f"{key}/")
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as stream:
            stream.writelines(store.chunks(name))


def put_tree(directory: Path, url: str, *, last: str = "") -> None:
    """Makes what is below a URL the files of a local directory.

    Args:
      directory: with the files.
      url: what is there and not in the directory is deleted.
      last: the file that tells readers that all is there: the first to go, the last to come.
    """
    store, key = open_store(url)
    files = {path.relative_to(directory).as_posix(): path for path in directory.rglob("*") if path.is_file()}
    there = {name.removeprefix(f"{key}/") for name in store.sizes(f"{key}/")}
    if last in there:
        store.delete([f"{key}/{last}"])
    store.delete(f"{key}/{name}" for name in sorted(there - files.keys()))
    for name in sorted(files, key=lambda name: (name == last, name)):
        store.upload(files[name], f"{key}/{name}")


def copy_tree(source: str, target: str, *, last: str = "") -> bool:
    """Makes what is below a URL the same as below another of the same bucket; False where there is nothing to copy."""
    store, old = open_store(source)
    _, new = open_store(target)
    files = {name.removeprefix(f"{old}/") for name in store.sizes(f"{old}/")}
    if not files:
        return False
    there = {name.removeprefix(f"{new}/") for name in store.sizes(f"{new}/")}
    if last in there:
        store.delete([f"{new}/{last}"])
    store.delete(f"{new}/{name}" for name in sorted(there - files))
    for name in sorted(files, key=lambda name: (name == last, name)):
        store.copy(f"{old}/{name}", f"{new}/{name}")
    return True


def delete_tree(url: str, *, first: str = "") -> None:
    """Deletes what is below a URL, the file that tells readers that all is there before the others."""
    store, key = open_store(url)
    store.delete(sorted(store.sizes(f"{key}/"), key=lambda name: name != f"{key}/{first}"))
