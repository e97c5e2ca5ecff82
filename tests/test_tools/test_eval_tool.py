import importlib.util
import json
import subprocess
import sys

import pytest

TOO_SMALL = {
    'videos': [{'id': 1, 'name': 'val/one'}],
    'categories': [{'id': 1, 'name': 'a'}, {'id': 2, 'name': 'b'}],
    'images': [
        {
            'id': image,
            'video_id': 1,
            'frame_id': image - 1,
            'file_name': f'val/one/{image - 1:06d}.JPEG',
            'width': 100,
            'height': 80,
        }
        for image in (1, 2, 3)
    ],
    'annotations': [
        {
            'id': image,
            'image_id': image,
            'video_id': 1,
            'category_id': 1 + image % 2,
            'instance_id': image % 2,
            'bbox': [10, 10, 30, 30],
            'area': 900,
            'iscrowd': False,
        }
        for image in (1, 2, 3)
    ],
}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / 'a.json').write_text(json.dumps(TOO_SMALL))
    (tmp_path / 'tiny.py').write_text(
        'dataset = dict(type="CocoVideoDataset", ann_file="none.json")\n'
        'test_dataloader = dict(dataset=dataset)\n'
        'test_evaluator = dict(type="VideoDetectionMetric", ann_file="none.json")\n'
    )
    results = [
        {'image_id': i, 'category_id': 1 + i % 2, 'bbox': [10, 10, 30, 30], 'score': i / 10}
        for i in (1, 2)
    ]
    (tmp_path / 'r.json').write_text(json.dumps(results))
    return tmp_path


@pytest.fixture
def eval_tool(repo, folder, monkeypatch):
    """tools/eval.py as a function of its arguments, in the folder of the files."""
    spec = importlib.util.spec_from_file_location('eval_tool', repo / 'tools' / 'eval.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.chdir(folder)

    def run(*arguments):
        monkeypatch.setattr(sys, 'argv', ['eval.py', *arguments])
        module.main()

    return run


ANN_FILE = ('--cfg-options', 'test_dataloader.dataset.ann_file=a.json')


def test_scores_a_coco_json(repo, folder):
    tool = [sys.executable, str(repo / 'tools' / 'eval.py')]
    command = [*tool, 'tiny.py', 'r.json', '--eval', 'bbox', *ANN_FILE]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    printed = done.stdout + done.stderr
    assert 'AP50 (VID)' in printed and 'AP50 (COCO)' in printed
    metrics = json.loads((folder / 'work_dirs' / 'tiny' / 'metrics.json').read_text())
    assert metrics['vid/AP50/a'] == pytest.approx(1) and metrics['coco/AP50'] < 1
    assert metrics['vid/AP50/b'] == pytest.approx(0.5)
    assert (folder / 'work_dirs' / 'tiny' / 'per_class.csv').is_file()


def test_options_of_1x_and_a_frame_list(eval_tool, folder):
    (folder / 'first.txt').write_text('val/one 0\nval/one 1\n')
    options = ('--eval-options', 'frame_list=first.txt', 'vid_style=True', 'metrics=vid')
    eval_tool('tiny.py', '--out', 'r.json', '--work-dir', 'w', *ANN_FILE, *options)
    metrics = json.loads((folder / 'w' / 'metrics.first.json').read_text())
    assert metrics['vid/AP50'] == pytest.approx(1)
    assert not any(name.startswith('coco') for name in metrics)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('tiny.py', 'r.json'), 'error: none.json: there is no such annotation file'),
        (('tiny.py', 'r.pkl', *ANN_FILE), 'error: r.pkl: there is no such results file'),
        (('tiny.py',), 'give one results file'),
        (('tiny.py', 'r.json', '--eval', 'segm'), "invalid choice: 'segm'"),
        (
            ('tiny.py', 'r.json', *ANN_FILE, '--eval-options', 'motionfile=m'),
            "error: --eval-options: there is no 'motionfile'. Known:",
        ),
        (
            ('tiny.py', 'r.json', '--cfg-options', 'test_dataloader.dataset=1'),
            'error: The config has no test_dataloader.dataset.ann_file',
        ),
    ],
)
def test_mistakes_are_one_sentence(eval_tool, arguments, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        eval_tool(*arguments)
    assert stopped.value.code != 0
    assert message in f'{stopped.value} {capsys.readouterr().err}'
