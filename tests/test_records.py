import os, pickle, signal, subprocess, sys, time, zipfile
from pathlib import Path

import cv2, numpy as np, pytest
from hypothesis import given, settings, strategies as st

from poselab import records
from poselab.records import (COLUMNS, ImageInfo, ImageSource, Instances, MemorySource, PoseData, data_root, open_clip,
    read_image, rows_by_id, whole_file, write_video, write_whole)
from poselab.schema import load_schema

RNG = np.random.default_rng(0)
def picture(h=24, w=32): return cv2.GaussianBlur(RNG.integers(0, 256, (h, w, 3), dtype=np.uint8), (5, 5), 2)
def png(img): return cv2.imencode('.png', img[..., ::-1] if img.ndim == 3 else img)[1].tobytes()
def crowd(p, k=3, seed=0, **cols):
    rng = np.random.default_rng(seed)
    return Instances.make(rng.uniform(0, 100, (p, k, 2)), rng.integers(0, 3, (p, k)), [{'n': i} for i in range(p)],
                          **{'image_id': rng.integers(0, 4, p), **cols})

# ---- tables

@settings(max_examples=40, deadline=None)
@given(st.integers(0, 12), st.data())
def test_every_column_follows_its_row(p, data):
    people = crowd(p)
    rows = data.draw(st.lists(st.integers(0, p - 1), max_size=8)) if p else []
    some = people[np.array(rows, int)]
    assert len(some) == len(rows)
    for n in ['keypoints', *COLUMNS]: np.testing.assert_array_equal(getattr(some, n), getattr(people, n)[rows])
    assert [e['n'] for e in some.extra] == rows

@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=5))
def test_joining_what_was_cut_gives_the_same_table(sizes):
    parts = [crowd(p, seed=i) for i,p in enumerate(sizes)]
    whole = Instances.cat(parts)
    for n in ['keypoints', *COLUMNS]: np.testing.assert_array_equal(getattr(whole, n), np.concatenate([getattr(i, n) for i in parts]))

def test_mask_slice_and_number_give_tables():
    people = crowd(6)
    assert len(people[people.image_id >= 0]) == 6 and len(people[1:3]) == 2 and len(people[4]) == 1 and len(people[:0]) == 0
    assert people[-1].extra == [{'n': 5}]

def test_a_missing_box_is_the_tightest_around_labelled_keypoints():
    people = Instances.make([[[10, 20], [40, 80], [999, 999]]], [[2, 1, 0]])
    np.testing.assert_array_equal(people.bbox, [[10, 20, 30, 60]])
    assert people.area[0] == pytest.approx(.53*30*60)

def test_a_person_without_labels_has_an_empty_box():
    assert Instances.make(np.full((1, 3, 2), np.nan), 0).bbox.tolist() == [[0, 0, 0, 0]]

@pytest.mark.parametrize('cols', [dict(bbox=[0, 0, 1, 1]), dict(score=[1.]), dict(visible=np.ones((2, 4))), dict(extra=[{}])])
def test_a_column_of_the_wrong_length_is_named(cols):
    with pytest.raises(ValueError, match=next(iter(cols))): Instances.make(np.zeros((2, 3, 2)), **cols)

def test_an_unknown_column_is_refused():
    with pytest.raises(ValueError, match='bbx'): Instances.make(np.zeros((1, 3, 2)), bbx=1)

def test_replace_leaves_the_old_table_alone():
    people = crowd(3)
    assert (people.replace(score=.5).score == .5).all() and np.isnan(people.score).all()
    with pytest.raises(ValueError, match='area'): people.replace(area=np.zeros(4))

def test_rows_by_id_keeps_the_order_of_rows():
    assert {k: v.tolist() for k,v in rows_by_id(np.array([5, 1, 5, 1, 5])).items()} == {1: [1, 3], 5: [0, 2, 4]}
    assert rows_by_id(np.zeros(0, int)) == {}

# ---- data sets

def dataset(n=3, size=(32, 24)):
    pics = {f'{i}.png': picture(*size[::-1]) for i in range(n)}
    images = [ImageInfo(i, f'{i}.png', *size, split='ab'[i % 2]) for i in range(n)]
    return PoseData('few', load_schema('coco'), images, crowd(7, 17, image_id=[0, 1, 1, 2, 2, 2, 0]), MemorySource(pics))

def test_people_are_found_by_picture():
    data = dataset()
    assert [len(data.of(i)) for i in range(3)] == [2, 2, 3]
    data.instances = data.instances[:2]
    assert [len(data.of(i)) for i in range(3)] == [1, 1, 0]

def test_a_subset_takes_its_people_along():
    data = dataset()
    assert len(data.subset([0, 2]).instances) == 5 and len(data.subset(split='b').instances) == 2
    assert len(data.subset([])) == 0 and len(data.subset([]).instances) == 0
    with pytest.raises(ValueError, match="no split 'c'"): data.subset(split='c')

def test_two_pictures_cannot_have_one_id():
    with pytest.raises(ValueError, match='image id 4 occurs twice'):
        PoseData('x', load_schema('coco'), [ImageInfo(4, 'a', 0, 0), ImageInfo(4, 'b', 0, 0)], Instances.empty(17))

def test_people_need_the_keypoints_of_the_schema():
    with pytest.raises(ValueError, match='14 keypoints'): PoseData('x', load_schema('coco'), [], Instances.empty(14))

def test_unknown_ids_and_missing_pictures_are_named():
    data = dataset()
    with pytest.raises(ValueError, match='no image 99'): data.image(99)
    with pytest.raises(ValueError, match='annotations only'): PoseData('x', data.schema, data.images, data.instances).image(0)

# ---- sources

def album(folder):
    (folder/'sub').mkdir(parents=True)
    pics = {'a.png': picture(), 'sub/b.png': picture(10, 20)}
    for n,img in pics.items(): (folder/n).write_bytes(png(img))
    (folder/'.hidden.png').write_bytes(b''); (folder/'notes.txt').write_text('x')
    return pics

def test_a_folder_and_its_zip_hold_the_same_pictures(tmp_path):
    pics = album(tmp_path/'album')
    with zipfile.ZipFile(tmp_path/'album.zip', 'w') as z:
        for n in pics: z.write(tmp_path/'album'/n, n)
    for source in (ImageSource(tmp_path/'album'), ImageSource(tmp_path/'album.zip')):
        assert source.names() == sorted(pics)
        for n,img in pics.items(): np.testing.assert_array_equal(source.read(n), img)

def test_a_folder_in_front_of_zip_members_may_be_left_out(tmp_path):
    with zipfile.ZipFile(tmp_path/'z.zip', 'w') as z:
        for n in ('x/a.png', 'x/b.png', 'y/b.png'): z.writestr(n, png(picture()))
    source = ImageSource(tmp_path/'z.zip')
    assert source.read('a.png').shape == (24, 32, 3)
    with pytest.raises(FileNotFoundError, match='several b.png'): source.read('b.png')
    with pytest.raises(FileNotFoundError, match='no c.png'): source.read('c.png')

def test_each_process_opens_the_zip_for_itself(tmp_path):
    with zipfile.ZipFile(tmp_path/'z.zip', 'w') as z: z.writestr('a.png', png(picture()))
    source = ImageSource(tmp_path/'z.zip')
    mine = source.read('a.png')
    assert source.zip.handle is not None
    copy = pickle.loads(pickle.dumps(source))
    assert copy.zip.handle is None
    np.testing.assert_array_equal(copy.read('a.png'), mine)

# ---- files

def test_an_old_file_is_replaced_and_nothing_else_is_left(tmp_path):
    f = tmp_path/'a.txt'
    write_whole(f, 'one'); write_whole(f, 'zwei ü')
    assert f.read_text('utf-8') == 'zwei ü' and os.listdir(tmp_path) == ['a.txt']
    assert f.stat().st_mode & 0o777 == 0o666 & ~_umask()

def _umask():
    old = os.umask(0); os.umask(old)
    return old

def test_a_link_keeps_pointing_to_the_new_content(tmp_path):
    write_whole(tmp_path/'real.txt', 'old'); os.symlink('real.txt', tmp_path/'link.txt')
    write_whole(tmp_path/'link.txt', 'new')
    assert (tmp_path/'link.txt').is_symlink() and (tmp_path/'real.txt').read_text() == 'new'

def test_a_full_disk_leaves_the_old_file_whole(tmp_path, monkeypatch):
    write_whole(tmp_path/'a.bin', b'old')
    def full(fd): raise OSError(28, 'No space left on device')
    monkeypatch.setattr(records.os, 'fsync', full)
    with pytest.raises(OSError, match='No space'): write_whole(tmp_path/'a.bin', b'new'*1000)
    assert (tmp_path/'a.bin').read_bytes() == b'old' and os.listdir(tmp_path) == ['a.bin']

def test_a_disk_that_fills_up_while_writing_leaves_the_old_file_whole(tmp_path):
    write_whole(tmp_path/'a.bin', b'old')
    with pytest.raises(OSError, match='No space'):
        with whole_file(tmp_path/'a.bin') as part:
            part.write_bytes(b'new and ha')
            raise OSError(28, 'No space left on device')
    assert (tmp_path/'a.bin').read_bytes() == b'old' and os.listdir(tmp_path) == ['a.bin']

def test_a_killed_process_leaves_the_old_file_whole(tmp_path):
    target = write_whole(tmp_path/'weights.bin', b'old')
    code = ('import sys, time\nfrom poselab.records import whole_file\n'
            f'with whole_file({str(target)!r}) as part, open(part, "wb") as f:\n'
            '    f.write(b"new"*1000); f.flush(); print("half way", flush=True); time.sleep(60)')
    p = subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE)
    assert p.stdout.readline() == b'half way\n'
    p.send_signal(signal.SIGKILL); p.wait()
    assert target.read_bytes() == b'old'
    assert write_whole(target, b'newer').read_bytes() == b'newer'

def test_a_reader_never_sees_half_a_file(tmp_path):
    target,old,new = tmp_path/'a.bin',b'o'*200_000,b'n'*200_000
    write_whole(target, old)
    with whole_file(target) as part:
        part.write_bytes(new)
        assert target.read_bytes() == old
    assert target.read_bytes() == new

def test_writing_into_nowhere_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match='make the folder first'): write_whole(tmp_path/'no'/'a', b'')
    with pytest.raises(ValueError, match='is a folder'): write_whole(tmp_path, b'')

# ---- clips

def moving(n=8, size=(24, 32)): return [np.full((*size, 3), 20*i, np.uint8) for i in range(n)]

@pytest.mark.parametrize('ending', ['.mp4', '.avi', '.webm', '.mov'])
def test_a_video_comes_back_with_its_frames_and_rate(tmp_path, ending):
    clip = open_clip(write_video(tmp_path/f'v{ending}', moving(), 12.5))
    back = list(clip.frames())
    assert len(back) == 8 and clip.size == (32, 24) and clip.fps == pytest.approx(12.5, abs=.01)
    assert max(abs(a.astype(int) - b).max() for a,b in zip(back, moving())) <= 6
    assert len(list(clip.frames())) == 8 # a second pass starts anew

def test_an_odd_size_grows_by_one_line(tmp_path):
    assert open_clip(write_video(tmp_path/'v.mp4', moving(4, (25, 33)))).size == (34, 26)

def test_red_stays_red(tmp_path):
    red = [np.tile(np.array([200, 30, 30], np.uint8), (24, 32, 1))]*4
    assert np.abs(next(open_clip(write_video(tmp_path/'v.mp4', red)).frames()).mean((0, 1)) - [200, 30, 30]).max() < 6

def test_a_folder_a_zip_and_one_image_are_clips_too(tmp_path):
    pics = album(tmp_path/'album')
    with zipfile.ZipFile(tmp_path/'z.zip', 'w') as z: z.write(tmp_path/'album'/'a.png', 'a.png')
    assert len(open_clip(tmp_path/'album')) == 2 and len(open_clip(tmp_path/'z.zip')) == 1
    one = open_clip(tmp_path/'album'/'a.png', fps=10)
    assert one.fps == 10 and one.size == (32, 24)
    np.testing.assert_array_equal(next(one.frames()), pics['a.png'])

def test_a_clip_becomes_a_data_set_with_pictures_in_any_order(tmp_path):
    data = open_clip(write_video(tmp_path/'v.avi', moving())).to_data(load_schema('coco'))
    grey = [int(data.image(i).mean()) for i in (1, 4, 2, 8, 8)]
    assert len(data) == 8 and np.abs(np.array(grey) - [0, 60, 20, 140, 140]).max() <= 4
    assert data.info(3).frame == 2 and data.info(3).video == 'v.avi'
    pickle.loads(pickle.dumps(data.images))

def turned(data, degrees):
    "The same mp4 with another turn in its track header"
    matrix = {0: (1, 0, 0, 1), 90: (0, 1, -1, 0), 180: (-1, 0, 0, -1)}
    def packed(a, b, c, d): return b''.join((x*65536).to_bytes(4, 'big', signed=True) if i % 3 != 2 else (1 << 30 if x else 0).to_bytes(4, 'big')
                                            for i,x in enumerate((a, b, 0, c, d, 0, 0, 0, 1)))
    at = data.index(b'tkhd')
    i = data.index(packed(*matrix[0]), at)
    return data[:i] + packed(*matrix[degrees]) + data[i + 36:]

def test_a_phone_held_upright_gives_upright_frames(tmp_path):
    top_red = [np.concatenate([np.tile(np.uint8([220, 0, 0]), (24, 16, 1)), np.zeros((24, 16, 3), np.uint8)], 1)]*5
    flat = write_video(tmp_path/'flat.mp4', top_red)
    (tmp_path/'up.mp4').write_bytes(turned(flat.read_bytes(), 90))
    clip = open_clip(tmp_path/'up.mp4')
    img = next(clip.frames())
    assert clip.size == (24, 32) and img.shape == (32, 24, 3)
    assert img[4, 12, 0] > 150 > 60 > img[28, 12, 0] # what was left is on top after a quarter turn clockwise

# ---- where the data are

def test_data_root_can_be_moved_or_turned_off(tmp_path, monkeypatch):
    monkeypatch.setenv('POSELAB_DATA', str(tmp_path)); assert data_root() == tmp_path
    monkeypatch.setenv('POSELAB_DATA', ''); assert data_root() is None
    monkeypatch.setenv('POSELAB_DATA', str(tmp_path/'no'))
    with pytest.raises(FileNotFoundError, match='POSELAB_DATA'): data_root()

def test_the_real_videos_open():
    root = data_root()
    if root is None or not (root/'videos').is_dir(): pytest.skip('no shared data: real videos')
    for f,size,count in (('pose2sim_single_cam01.mp4', (1080, 1920), 100), ('openpose_street.avi', (1280, 720), 205)):
        clip = open_clip(root/'videos'/f)
        assert clip.size == size and clip.count == count
        assert next(clip.frames()).shape == (size[1], size[0], 3)

def test_records_does_not_load_torch():
    code = 'import sys, poselab.records; print([m for m in ("torch", "fiftyone", "matplotlib") if m in sys.modules])'
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout.strip() == '[]'

# ---- times

def uneven(data, first, later):
    "The same mp4 with the first frame shown longer: a second row in its table of durations, and every box around it 8 bytes longer"
    at = data.index(b'stts')
    count,delta = (int.from_bytes(data[at + k:at + k + 4], 'big') for k in (12, 16))
    rows = b''.join(x.to_bytes(4, 'big') for x in (2, 1, delta*first, count - 1, delta*later))
    out = bytearray(data[:at + 8] + rows + data[at + 20:])
    for name in (b'moov', b'trak', b'mdia', b'minf', b'stbl', b'stts'):
        i = data.rindex(name, 0, at + 4) - 4
        out[i:i + 4] = (int.from_bytes(data[i:i + 4], 'big') + 8).to_bytes(4, 'big')
    return bytes(out).replace(b'edts', b'free') # the old length would cut the end off

def test_an_uneven_film_says_when_each_frame_was_taken(tmp_path):
    flat = write_video(tmp_path/'even.mp4', moving(), 25.)
    np.testing.assert_allclose(open_clip(flat).times(), np.arange(8)/25, atol=1e-6)
    (tmp_path/'uneven.mp4').write_bytes(uneven(flat.read_bytes(), 5, 1))
    clip = open_clip(tmp_path/'uneven.mp4')
    times = clip.times()
    assert len(times) == 8 and times[0] == 0 and times[1] == pytest.approx(.2, abs=1e-3)
    np.testing.assert_allclose(np.diff(times)[1:], .04, atol=1e-3)
    assert [t for t,_ in clip.timed()] == times.tolist() and len(list(clip.frames())) == 8

def test_a_rate_that_is_given_wins_over_the_files(tmp_path):
    film = write_video(tmp_path/'f.mp4', moving(), 25.)
    np.testing.assert_allclose(open_clip(film, fps=10).times(), np.arange(8)/10)
    np.testing.assert_allclose([t for t,_ in open_clip(film, fps=10).timed()], np.arange(8)/10)

def test_pictures_come_at_the_stated_rate(tmp_path):
    album(tmp_path/'album')
    assert open_clip(tmp_path/'album', fps=4).times().tolist() == [0, .25]

@pytest.mark.parametrize('degrees,size', [(0, (32, 24)), (90, (24, 32)), (180, (32, 24))])
def test_a_turned_film_is_turned_back_in_size_and_in_every_frame(tmp_path, degrees, size):
    flat = write_video(tmp_path/'flat.mp4', moving())
    (tmp_path/'t.mp4').write_bytes(turned(flat.read_bytes(), degrees))
    clip = open_clip(tmp_path/'t.mp4')
    assert clip.size == size and all(f.shape[1::-1] == size for f in clip.frames()) and len(clip.times()) == 8

def test_a_camera_that_is_not_there_is_named():
    with pytest.raises(ValueError, match='Camera 97'): records.open_camera(97)

# ---- reading ahead

def test_a_thread_reads_a_few_ahead_and_stops_when_nobody_listens():
    made = []
    def items():
        try:
            for i in range(1000): made.append(i); yield i
        finally: made.append('closed')
    ahead = records.read_ahead(items(), 3)
    assert [next(ahead), next(ahead)] == [0, 1]
    ahead.close()
    for _ in range(50):
        if made[-1] == 'closed': break
        time.sleep(.02)
    assert made[-1] == 'closed' and len(made) < 10

def test_an_error_while_reading_ahead_arrives_after_what_was_read():
    def items(): yield 1; yield 2; raise ValueError('broken at three')
    got = []
    with pytest.raises(ValueError, match='broken at three'):
        for x in records.read_ahead(items()): got.append(x)
    assert got == [1, 2]


# --- what somebody uploads ------------------------------------------------------------------------------------

def test_a_huge_picture_in_a_small_file_is_refused_before_it_is_decoded(monkeypatch):
    def decode(*args): raise AssertionError('decoded')
    huge = {n: cv2.imencode('.png', np.zeros((n, n), np.uint8))[1].tobytes() for n in (7100, 14000)}
    wide = cv2.imencode('.jpg', np.zeros((60000, 900), np.uint8))[1].tobytes()
    monkeypatch.setattr(cv2, 'imdecode', decode)
    for data,said in ((huge[7100], '7100×7100 px; take one of at most 50 million'), (huge[14000], 'more than 170 million px; take one of at most 50'), (wide, '900×60000 px')):
        assert len(data) < 8*2**20
        with pytest.raises(ValueError, match=said): records.read_upload(data)

def test_a_picture_that_is_brought_is_as_it_is_or_as_large_as_asked():
    img = np.random.default_rng(0).integers(0, 255, (90, 130, 3), np.uint8)
    data = cv2.imencode('.png', img[..., ::-1])[1].tobytes()
    np.testing.assert_array_equal(records.read_upload(data), img)
    assert records.read_upload(data, side=65).shape == (45, 65, 3) and records.read_upload(data, side=500).shape == img.shape
    for bad in (b'', b'words', data[:20], data[:200]):
        with pytest.raises(ValueError, match='JPEG or PNG'): records.read_upload(bad)
    with pytest.raises(ValueError, match='at most 0 MB'): records.read_upload(data, most=0)

def test_a_picture_that_is_brought_from_a_phone_stands_upright():
    from PIL import Image
    import io
    img = np.zeros((40, 60, 3), np.uint8); img[:, :30] = 255
    note = Image.Exif(); note[0x0112] = 6 # turn a quarter to the right
    file = io.BytesIO(); Image.fromarray(img).save(file, 'JPEG', exif=note)
    got = records.read_upload(file.getvalue())
    assert got.shape == (60, 40, 3) and got[:25].min() > 200 and got[35:].max() < 60
