"""Class lists against each other."""

from mmdet.core.class_names import both_lists, labels_by_name


def test_labels_go_by_name_where_the_names_are_the_same():
    assert labels_by_name(['a', 'b', 'c'], ['c', 'a', 'b']) == [1, 2, 0]
    for wanted in (['a'], ['a', 'c'], ['a', 'b', 'c'], ['a', 'a'], ['A', 'b']):
        assert labels_by_name(['a', 'b'], wanted) is None
    assert labels_by_name(['a', 'a'], ['a', 'a']) is None


def test_both_lists_are_shown():
    text = both_lists('The file', ['a', 'b'], 'the config', ['b', 'c'])
    assert text == (
        "The file has 'a', 'b'; the config has 'b', 'c'. Only The file has 'a'. "
        "Only the config has 'c'."
    )
