#include "shared/domain/knowledge/lexicon.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <set>

#include "shared/domain/knowledge/normalize.hpp"
#include "shared/domain/knowledge/tokenizer.hpp"

namespace millrace::domain::knowledge {
namespace {

// Words separated by spaces.
constexpr std::string_view k_stop_words =
    "a an the of in on at to for from by with and or nor but is are was were be been being do does "
    "did done doing can could will "
    "would shall should may might must have has had having i you he she it we they me him her us "
    "them my your his its our their "
    "mine yours this that these those there here what which who whom whose when where why how if "
    "as than then so not no any some "
    "all both each every either neither such same other another one about into onto over under per "
    "via please tell give let know "
    "am up out off only just also too very more most less least much many long often far soon "
    "early late after before during "
    "between until till while again ever never yet still even don't doesn't isn't aren't won't "
    "can't i'm i'd i've you're it's "
    "what's who's where's when's how's there's that's let's anyone anybody someone something "
    "anything everything";

constexpr std::string_view k_weak_words =
    "get got gets getting take takes taken make made want need needs use used using go going come "
    "comes put keep mean means "
    "happen happens possible allowed able want like work works name called kind type way ways "
    "thing things people person "
    "number amount time times day days year years offer offers available find found information "
    "show see ask need look new different first last next own must "
    "場合 方法 必要 可能 名前 名称 種類 意味 内容 結果 関係 理由 目的 現在 最初 最後 場所 時間 "
    "時期 時 人 人物 物 者 事 所 国 "
    "言葉 言 見 使 行 出 入 受 持 知 教 思 来 取 場 方 後 前 中 上 下 内 外 間 的 際 点 例 等 用 "
    "呼 他 主 当 各 約 以上 以下 "
    "対応 利用 使用 確認 質問 情報 具体 一番 一般 どの もの こと よう ため とき ところ";

// Japanese grammar and question phrases, cut out of a question before its content is read.
constexpr std::string_view k_function_phrases =
    "ですか ますか でしょうか ましょうか ありますか いますか できますか ください 下さい 教えて "
    "おしえて 知りたい 何ですか なんですか "
    "とは 何か なにか なんという 何という なんと 何と なんの 何の なに 何 誰 だれ どこ どちら どの "
    "どれ どう どんな どのような "
    "どのように どのくらい どれくらい どれぐらい どのぐらい いつ いくら いくつ なぜ どうして "
    "について に関する に関して において における "
    "によって による により にとって として からの までの から まで より など ので のに ため "
    "という といった といい といいます "
    "である であった でした です ます ました ません ない なかった だった でき できる できます "
    "している していた して した する "
    "される された されて され します しました しますか しよう すれば したら すると せる なります "
    "なる なった なりました ある あった "
    "あり ありました いる いた います いました おり もらえますか もらえる もらえます くれますか "
    "くれる よいですか いいですか よい いい "
    "れば たら なら には では とも でも にも への との のは のが のを のか ほど だけ しか さえ "
    "くらい ぐらい ごろ かかりますか かかる "
    "必要がありますか と の は が を に へ で や も か ね よ な だ て た し お ご";

// Each group on a line of its own: any word may stand for any other. English words are stemmed when
// read.
constexpr std::string_view k_synonyms = R"(
有休 有給 有給休暇 年休 年次有給休暇
休み 休暇 休業 休日 休診
昼休み 休憩
給料 給与 賃金 月給
賞与 ボーナス
値段 価格 料金 費用 代金 金額 代
テレワーク 在宅勤務 リモートワーク
時短勤務 短時間勤務 時短
残業 時間外 超過勤務
社員 従業員 職員 スタッフ
会社 企業 当社 弊社 製造元 メーカー
上司 上長 部門長
ホテル代 宿泊費 宿泊料
宿泊 泊まり
マイカー 自家用車
パソコン pc ノートパソコン コンピュータ コンピューター
スマホ スマートフォン 携帯電話 携帯
紛失 なくした なくし 無くし 失くし
怪しい 不審 あやしい
電話番号 電話 tel
メールアドレス メール アドレス
住所 所在地
型番 品番 型式
重さ 重量 質量 体重
大きさ サイズ 寸法
におい 臭い 匂い
掃除 手入れ お手入れ 清掃
壊れ 故障 不具合
購入 買っ 買う 買い お買い上げ
締め切り 締切 期限
申し込み 申込 申込み 申請
診察 診療 受診
医者 医師
注射 予防接種 接種 ワクチン
子ども 子供 子 お子さま 児童
父 母 父母 両親
妻 夫 配偶者
結婚 婚姻
死亡 亡くな 死去 没
生まれ 誕生 出生
作者 著者
作って 作った 製造 製作 制作 作られ
開始 始まっ 始まり 始ま
終わ 終了
設立 創立 創業 創設 発足
広さ 面積
別名 別称 通称 呼ばれ
変更 変え 変わ
交換 取り替え 替え
取り消 キャンセル 取消
支払 払い 決済 払え
支給 手当
持ち物 持参 お持ち 持って
駐車場 パーキング 駐車
無料 無償 ただ
禁止 認めていません できません
許可 承認 認め
上限 最大
最低 最小 以上
営業時間 受付時間 診療時間
頻度 毎日 毎週 毎月
経路 ルート
vacation holiday leave
employee staff worker
salary pay wage
phone telephone
email mail
price cost fee charge
buy purchase
repair fix service
broken fault faulty defective
doctor physician dr
medicine drug medication
laptop computer notebook
lost missing stolen
remote home
boss manager supervisor
approve approval permission
limit maximum max cap
minimum least
begin start
end finish close
refund reimburse refunded reimbursed paid
hotel accommodation lodging
flight plane fly
taxi cab
car vehicle
child children kid
shot jab vaccination vaccine
appointment booking book reserve
weight heavy weigh
height tall high
width wide
length long
noise noisy loud
colour color
mandatory required compulsory
forbidden prohibited
delete remove
company firm organisation organization
parent parental
forward send
wash clean
programme program cycle
fast fasting eat
repeat often
)";

std::vector<std::string_view> words_of(std::string_view text) {
    std::vector<std::string_view> out;
    while (!text.empty()) {
        const auto end = std::min(text.find(' '), text.size());
        if (end > 0) out.push_back(text.substr(0, end));
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    return out;
}

struct Lexicon {
    std::set<std::string_view> stop, weak, functions;
    std::map<std::string, std::vector<std::size_t>, std::less<>> groups_of;
    std::vector<std::vector<std::string>> groups;
    std::size_t function_bytes_max = 0, synonym_bytes_max = 0;

    Lexicon() {
        for (const auto word : words_of(k_stop_words)) stop.insert(word);
        for (const auto word : words_of(k_weak_words)) weak.insert(word);
        for (const auto phrase : words_of(k_function_phrases)) {
            functions.insert(phrase);
            function_bytes_max = std::max(function_bytes_max, phrase.size());
        }
        for (std::string_view rest = k_synonyms.substr(1); !rest.empty();) {
            const auto end = rest.find('\n');
            auto& group = groups.emplace_back();
            for (const auto word : words_of(rest.substr(0, end))) {
                group.push_back(static_cast<unsigned char>(word[0]) < 0x80 ? stem(word)
                                                                           : std::string(word));
                groups_of[group.back()].push_back(groups.size() - 1);
                if (static_cast<unsigned char>(word[0]) >= 0x80)
                    synonym_bytes_max = std::max(synonym_bytes_max, word.size());
            }
            rest.remove_prefix(end + 1);
        }
    }
};

const Lexicon& lexicon() {
    static const Lexicon instance;
    return instance;
}

bool contains_any(std::string_view text, std::string_view words) {
    return std::ranges::any_of(words_of(words), [&](std::string_view word) {
        return text.find(word) != std::string_view::npos;
    });
}

bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

constexpr std::string_view k_numerals = "一二三四五六七八九十百千万数半";

bool is_numeral(char32_t c) {
    for (std::size_t at = 0; at < k_numerals.size(); at += 3) {
        if (code_point_at(k_numerals, at).value == c) return true;
    }
    return c >= '0' && c <= '9';
}

/// Whether a number is directly followed (or, for signs, preceded) by one of the words.
bool number_with(std::string_view text, std::string_view units, std::string_view signs) {
    bool number = false;
    for (std::size_t at = 0; at < text.size();) {
        const auto [c, bytes] = code_point_at(text, at);
        if (is_numeral(c)) {
            number = true;
        } else if (number && c != ',' && c != '.' && c != ' ') {
            const auto rest = text.substr(at);
            if (std::ranges::any_of(words_of(units),
                                    [&](auto unit) { return rest.starts_with(unit); }))
                return true;
            number = false;
        }
        at += bytes;
        if (std::ranges::any_of(words_of(signs),
                                [&](auto sign) { return text.substr(0, at).ends_with(sign); }) &&
            at < text.size() &&
            (is_digit(text[at]) ||
             (text[at] == ' ' && at + 1 < text.size() && is_digit(text[at + 1])))) {
            return true;
        }
    }
    return false;
}

bool has_word(std::string_view text, std::string_view words) {
    std::string padded = " ";
    for (const char c : text)
        padded += (c >= 'a' && c <= 'z') || static_cast<unsigned char>(c) >= 0x80 || is_digit(c)
                      ? c
                      : ' ';
    padded += ' ';
    return std::ranges::any_of(words_of(words), [&](std::string_view word) {
        return padded.find(" " + std::string(word) + " ") != std::string::npos;
    });
}

/// Seven digits or more with nothing but separators between them.
bool has_phone_number(std::string_view text) {
    std::size_t digits = 0;
    for (const char c : text) {
        if (is_digit(c)) {
            if (++digits >= 7) return true;
        } else if (c != '-' && c != '(' && c != ')' && c != ' ' && c != '+') {
            digits = 0;
        }
    }
    return text.find("内線") != std::string_view::npos || has_word(text, "extension ext");
}

}  // namespace

bool is_stop_word(std::string_view word) {
    return lexicon().stop.contains(word);
}
bool is_weak_word(std::string_view word) {
    return lexicon().weak.contains(word);
}

std::size_t function_phrase(std::string_view text) {
    const auto& lex = lexicon();
    for (std::size_t size = std::min(text.size(), lex.function_bytes_max); size > 0; --size) {
        if (lex.functions.contains(text.substr(0, size))) return size;
    }
    return 0;
}

std::size_t synonym_prefix(std::string_view text) {
    const auto& lex = lexicon();
    if (text.empty() || static_cast<unsigned char>(text[0]) < 0x80) return 0;
    for (std::size_t size = std::min(text.size(), lex.synonym_bytes_max); size >= 6;
         --size) {  // two characters at least
        if (lex.groups_of.contains(text.substr(0, size)))
            return function_phrase(text) > size ? 0 : size;
    }
    return 0;
}

std::vector<std::string> synonyms(std::string_view word) {
    const auto& lex = lexicon();
    std::vector<std::string> out;
    const auto found = lex.groups_of.find(word);
    if (found == lex.groups_of.end()) return out;
    for (const auto group : found->second) {
        for (const auto& other : lex.groups[group]) {
            if (other != word) out.push_back(other);
        }
    }
    return out;
}

Asked asked_for(std::string_view question) {
    if (contains_any(question, "電話番号 phone telephone fax ファックス")) return Asked::phone;
    if (contains_any(question, "メールアドレス email e-mail")) return Asked::mail;
    if (contains_any(question, "いくら 何円 値段 料金 価格 金額 費用は 代金") ||
        question.find("how much does") != std::string_view::npos ||
        question.find("how much do ") != std::string_view::npos ||
        has_word(question, "price fee cost costs salary")) {
        return Asked::money;
    }
    if (contains_any(question, "いつ 何時 何日 何月 何曜 何世紀 何年 何分 何週") ||
        has_word(question, "when") || question.find("what time") != std::string_view::npos ||
        question.find("which day") != std::string_view::npos) {
        return Asked::time;
    }
    if (contains_any(question,
                     "何人 何回 何個 何台 何枚 何本 何歳 何メ 何キロ 何グラム 何センチ 何度 何パー "
                     "何% 何割 何倍 何位 何番 何か月 何ヶ月 何畳 "
                     "何ワット 何リットル 何ギガ 何メガ 何文字 いくつ どのくらい どれくらい") ||
        question.find("how many") != std::string_view::npos ||
        question.find("how old") != std::string_view::npos ||
        question.find("how long") != std::string_view::npos ||
        question.find("how tall") != std::string_view::npos ||
        question.find("how much") != std::string_view::npos ||
        question.find("how often") != std::string_view::npos ||
        has_word(question, "percentage percent")) {
        return Asked::number;
    }
    return Asked::anything;
}

bool holds(Asked what, std::string_view text) {
    constexpr std::string_view k_number_words =
        "one two three four five six seven eight nine ten eleven twelve twenty thirty hundred "
        "thousand million once twice daily weekly "
        "monthly yearly every first second third half";
    switch (what) {
        case Asked::anything:
            return true;
        case Asked::phone:
            return has_phone_number(text);
        case Asked::mail:
            return text.find('@') != std::string_view::npos;
        case Asked::money:
            return number_with(text,
                               "円 ドル ユーロ 元 ウォン ポンド % パーセント 割 dollar euro cent "
                               "pound percent usd eur jpy",
                               "$ ¥ € £ usd eur") ||
                   contains_any(text, "無料 無償") || has_word(text, "free");
        case Asked::time:
            return number_with(text,
                               "年 月 日 時 分 週 世紀 か月 ヶ月 歳 代 期 a.m p.m am pm :", "") ||
                   contains_any(text,
                                "曜 毎日 毎週 毎月 翌 当日 前日 春 夏 秋 冬 時代 世紀 朝 昼 夜 後 "
                                "前 時期") ||
                   has_word(text,
                            "monday tuesday wednesday thursday friday saturday sunday mondays "
                            "tuesdays wednesdays thursdays "
                            "fridays saturdays sundays january february march april may june july "
                            "august september october "
                            "november december morning afternoon evening noon midnight when during "
                            "after before day days "
                            "daily weekly monthly always") ||
                   std::ranges::any_of(text, is_digit);
        case Asked::number:
            return std::ranges::any_of(text, is_digit) || has_word(text, k_number_words) ||
                   number_with(text,
                               "つ 人 回 個 台 枚 本 歳 度 割 倍 位 番 年 月 日 時 分 週 種 か ヶ "
                               "名 件 カ ヵ 半 以 程 以上 の 、 。 ） )",
                               "") ||
                   contains_any(text, "毎日 毎週 毎月 毎年");
    }
    return true;
}

}  // namespace millrace::domain::knowledge
